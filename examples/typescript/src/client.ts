// A small client: queries and mutations over HTTP, subscriptions over Server-Sent Events, all typed by the schema.
import { createClient } from 'graphql-sse'

import type { TypedDocumentString } from './graphql/graphql.js'

export const address = process.env['INTERALPHA_URL'] || 'http://localhost:8000/graphql'
const authorization = `Bearer ${process.env['TOKEN'] ?? ''}`

interface Answer<Result> {
  data?: Result | null
  errors?: { message: string; extensions?: { code?: string; requestId?: string } }[]
}

/** A request that could not be answered, in a sentence for the person who runs the program. */
export class RequestFailed extends Error {}

/** Runs a query or mutation. Throws RequestFailed; what a mutation refuses is in its payload. */
export async function ask<Result, Variables>(
  document: TypedDocumentString<Result, Variables>,
  variables: Variables,
): Promise<Result> {
  const response = await fetch(address, {
    method: 'POST',
    headers: { authorization, accept: 'application/graphql-response+json', 'content-type': 'application/json' },
    body: JSON.stringify({ query: document.toString(), variables }),
    // The server answers a mutation within seconds; repeat it under the same idempotency key.
    signal: AbortSignal.timeout(30_000),
  }).catch((error: unknown) => {
    throw new RequestFailed(unreachable(error))
  })
  const { data, errors } = await body<Result>(response)
  if (errors?.[0]) throw new RequestFailed(explained(errors[0]))
  if (!data) throw new RequestFailed(`${address} answered with status ${response.status} and no data.`)
  return data
}

/** Follows a subscription, event by event, until the loop is left; lost connections are opened again. */
export async function* follow<Result, Variables extends Record<string, unknown>>(
  document: TypedDocumentString<Result, Variables>,
  variables: Variables,
): AsyncGenerator<Result> {
  const client = createClient({ url: address, headers: { authorization } })
  try {
    for await (const { data, errors } of client.iterate<Result>({ query: document.toString(), variables })) {
      if (errors?.[0]) throw new RequestFailed(explained(errors[0] as never))
      if (data) yield data
    }
  } catch (error) {
    throw error instanceof RequestFailed ? error : new RequestFailed(unreachable(error))
  } finally {
    client.dispose()
  }
}

/** Runs a program: what failed is one line on stderr and exit status 1, not a stack trace. */
export async function run(program: () => Promise<boolean>): Promise<never> {
  try {
    process.exit((await program()) ? 0 : 1)
  } catch (error) {
    if (!(error instanceof RequestFailed)) throw error
    console.error(error.message)
    process.exit(1)
  }
}

async function body<Result>(response: Response): Promise<Answer<Result>> {
  try {
    return (await response.json()) as Answer<Result>
  } catch {
    throw new RequestFailed(`${address} answered with status ${response.status}, but not with GraphQL.`)
  }
}

function explained({ message, extensions }: NonNullable<Answer<unknown>['errors']>[number]): string {
  const hint = extensions?.code === 'UNAUTHENTICATED' ? ' Set TOKEN: export TOKEN=$(interalpha token)' : ''
  return `${extensions?.code ?? 'ERROR'}: ${message}${hint}`
}

function unreachable(error: unknown): string {
  const { cause, message } = error as Error & { cause?: { code?: string } }
  const why = cause?.code ?? message
  return `No answer from ${address} (${why}). Start it with \`make dev\`, or set INTERALPHA_URL to its address.`
}
