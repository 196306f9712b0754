// A client in forty lines: queries and mutations over HTTP, subscriptions over Server-Sent Events, all typed by the schema.
import { createClient } from 'graphql-sse'

import type { TypedDocumentString } from './graphql/graphql.js'

export const address = process.env['INTERALPHA_URL'] ?? 'http://localhost:8000/graphql'
const authorization = `Bearer ${process.env['TOKEN'] ?? ''}`

interface Answer<Result> {
  data?: Result
  errors?: { message: string; extensions: { code: string; requestId: string } }[]
}

/** Runs a query or mutation. What went wrong with the request is thrown; what a mutation refuses is in its payload. */
export async function ask<Result, Variables>(
  document: TypedDocumentString<Result, Variables>,
  variables: Variables,
): Promise<Result> {
  const response = await fetch(address, {
    method: 'POST',
    headers: { authorization, accept: 'application/graphql-response+json', 'content-type': 'application/json' },
    body: JSON.stringify({ query: document.toString(), variables }),
  })
  const { data, errors } = (await response.json()) as Answer<Result>
  if (errors?.[0]) throw new Error(`${errors[0].extensions.code}: ${errors[0].message}`)
  if (!data) throw new Error(`The server answered with status ${response.status} and no data.`)
  return data
}

/** Follows a subscription, event by event, until the loop is left. */
export async function* follow<Result, Variables extends Record<string, unknown>>(
  document: TypedDocumentString<Result, Variables>,
  variables: Variables,
): AsyncGenerator<Result> {
  const client = createClient({ url: address, headers: { authorization } })
  try {
    for await (const { data, errors } of client.iterate<Result>({ query: document.toString(), variables })) {
      if (errors?.[0]) throw errors[0]
      if (data) yield data
    }
  } finally {
    client.dispose()
  }
}
