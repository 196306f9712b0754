/** Sends what the editor shows, and delivers an answer only to the tab that asked. */
import { createGraphiQLFetcher, isAsyncIterable } from '@graphiql/toolkit'
import type { Fetcher, FetcherOpts, FetcherParams } from '@graphiql/toolkit'
import { Kind, parse } from 'graphql'
import type { DocumentNode, OperationDefinitionNode } from 'graphql'

/** How many events the subscription that runs now has received, for the line below the response. */
let events = 0
const listeners = new Set<() => void>()

function setEvents(count: number): void {
  events = count
  for (const listener of listeners) listener()
}

export const eventCount = {
  get: () => events,
  subscribe(listener: () => void): () => void {
    listeners.add(listener)
    return () => listeners.delete(listener)
  },
}

/**
 * GraphiQL reads the operation's name and kind from the editor 100 ms after the last change. Until then they are those
 * of the tab before, so they are read from the query itself.
 */
function ofQuery(params: FetcherParams, options?: FetcherOpts): [FetcherParams, FetcherOpts | undefined] {
  let document: DocumentNode
  try {
    document = parse(params.query)
  } catch {
    // The server explains syntax errors better than a name that does not fit.
    return [{ ...params, operationName: null }, options]
  }
  const operations = document.definitions.filter((one): one is OperationDefinitionNode => one.kind === Kind.OPERATION_DEFINITION)
  const names = operations.map((one) => one.name?.value)
  const operationName = operations.length === 1 ? names[0] : names.find((name) => name === params.operationName)
  return [{ ...params, operationName: operationName ?? null }, options && { ...options, documentAST: document }]
}

interface Observer {
  next: (value: unknown) => void
  error: (error: unknown) => void
  complete: () => void
}

/**
 * Returns observables only: GraphiQL ends those when another tab is chosen. The answer of a promise would be shown in,
 * and stored with, whichever tab is active when it arrives.
 */
export function createFetcher(url: string): Fetcher {
  const send = createGraphiQLFetcher({
    url,
    // The socket is opened with the headers editor's content, so that one token serves both.
    subscriptionUrl: url.replace(/^http/, 'ws'),
    enableIncrementalDelivery: false,
  })
  return (params, options) => ({
    // Both callers in GraphiQL give an object of three functions; the type allows for more.
    subscribe(given) {
      const observer = given as Observer
      let isOpen = true
      let close = (): void => {}
      const work = async (): Promise<void> => {
        const answer = await send(...ofQuery(params, options))
        if (!isAsyncIterable(answer)) {
          if (isOpen) observer.next(answer)
          return
        }
        setEvents(0)
        const iterator = answer[Symbol.asyncIterator]()
        close = () => void iterator.return?.()
        if (!isOpen) close()
        for (let step = await iterator.next(); isOpen && !step.done; step = await iterator.next()) {
          setEvents(events + 1)
          observer.next(step.value)
        }
      }
      work().then(
        () => isOpen && observer.complete(),
        (error: unknown) => isOpen && observer.error(error),
      )
      return {
        unsubscribe() {
          isOpen = false
          close()
        },
      }
    },
  })
}
