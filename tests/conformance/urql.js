// urql: HTTP, subscriptions over a socket and over Server-Sent Events, persisted queries.
import { Client, fetchExchange, subscriptionExchange } from '@urql/core'
import { persistedExchange } from '@urql/exchange-persisted'
import { createClient } from 'graphql-ws'
import WebSocket from 'ws'

import {
  COMPANIES, MESSAGE, SEND, WATCH, address, authorization, ensure, followOne, report, sent, sms, socketAddress,
} from './checks.js'

const requests = []

function connect(exchanges, options = {}) {
  return new Client({
    url: address,
    exchanges,
    fetchOptions: { headers: { authorization } },
    preferGetMethod: false,
    fetch: (url, sending) => {
      requests.push(sending.body ? JSON.parse(sending.body) : { url: String(url) })
      return fetch(url, sending)
    },
    ...options,
  })
}

const client = connect([fetchExchange])

async function ask(promise) {
  const { data, error } = await promise
  ensure(!error, String(error))
  return data
}

const sendOne = async () => sent((await ask(client.mutation(SEND, { input: sms() }).toPromise())).sendMessage)

const listen = (following) => (hear) => {
  const { unsubscribe } = following
    .subscription(WATCH, {})
    .subscribe(({ data }) => data && hear(data.messageStatusChanged))
  return unsubscribe
}

await report({
  async query() {
    ensure((await ask(client.query(COMPANIES, {}).toPromise())).integrations.length > 0)
  },
  async 'a query over GET'() {
    const getting = connect([fetchExchange], { preferGetMethod: 'force' })
    ensure((await ask(getting.query(COMPANIES, {}).toPromise())).integrations.length > 0)
    ensure(requests.at(-1).url?.includes('query='), requests.at(-1))
  },
  async mutation() {
    const { id } = await sendOne()
    ensure((await ask(client.query(MESSAGE, { id }).toPromise())).message.id === id)
  },
  async subscription() {
    const socket = createClient({
      url: socketAddress, webSocketImpl: WebSocket, connectionParams: { Authorization: authorization },
    })
    const forwardSubscription = (request) => ({
      subscribe: (sink) => ({ unsubscribe: socket.subscribe({ ...request, query: request.query ?? '' }, sink) }),
    })
    await followOne(listen(connect([fetchExchange, subscriptionExchange({ forwardSubscription })])), sendOne)
    await socket.dispose()
  },
  async 'a subscription over Server-Sent Events'() {
    await followOne(listen(connect([fetchExchange], { fetchSubscriptions: true })), sendOne)
  },
  async 'persisted queries'() {
    const persisting = connect([persistedExchange({ preferGetForPersistedQueries: false }), fetchExchange])
    const query = COMPANIES.replace('Companies', `Companies${Date.now()}`)
    const counts = []
    for (let turn = 0; turn < 2; turn += 1) {
      requests.length = 0
      ensure((await ask(persisting.query(query, {}).toPromise())).integrations.length > 0)
      counts.push(requests.map((one) => (one.query ? 'text' : 'hash')))
    }
    ensure(JSON.stringify(counts) === '[["hash","text"],["hash"]]', counts)
  },
})
