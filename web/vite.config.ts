/** How the pages are built: everything in files of our own, nothing inline, nothing from another host. */
import { defineConfig } from 'vite'

import { licences } from './licences.ts'

const { collect, write } = licences('LICENSES.txt')

export default defineConfig({
  root: 'graphiql',
  // Relative, because the API may live under a path of its host.
  base: './',
  // A page gets its settings from the server that serves it, never from whoever built it.
  envDir: false,
  publicDir: false,
  logLevel: 'warn',
  plugins: [collect, write],
  worker: { format: 'es', plugins: () => [collect] },
  build: {
    outDir: '../dist/graphiql',
    emptyOutDir: true,
    // The Content-Security-Policy allows scripts from files only.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // The editor is that big, and it comes from nearby.
    chunkSizeWarningLimit: 8000,
    rolldownOptions: {
      onwarn(warning, warn) {
        // "use client" tells server-side renderers something, and there is none here.
        if (warning.code !== 'MODULE_LEVEL_DIRECTIVE') warn(warning)
      },
    },
  },
})
