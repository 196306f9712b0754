import type { CodegenConfig } from '@graphql-codegen/cli'

const config: CodegenConfig = {
  // The file the server promises to keep; in your own project, a copy of it.
  schema: '../../schema.graphql',
  documents: ['src/**/*.ts', '!src/graphql/**'],
  ignoreNoDocuments: false,
  // Node wants the names of files in full.
  importExtension: '.js',
  emitLegacyCommonJSImports: false,
  generates: {
    'src/graphql/': {
      preset: 'client',
      presetConfig: {
        // Makes the manifest that TRUSTED_DOCUMENTS names; the server compares SHA-256.
        persistedDocuments: { hashAlgorithm: 'sha256' },
      },
      config: {
        documentMode: 'string',
        enumsAsTypes: true,
        // Enums may grow: a client that was built last year still compiles its `default:`.
        futureProofEnums: true,
        useTypeImports: true,
        strictScalars: true,
        scalars: {
          CurrencyCode: 'string',
          DateTime: 'string',
          Duration: 'string',
          EmailAddress: 'string',
          JSON: 'unknown',
          Locale: 'string',
          PhoneNumber: 'string',
          TimeZone: 'string',
          URL: 'string',
        },
      },
    },
  },
}

export default config
