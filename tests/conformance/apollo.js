// Apollo Client: HTTP, subscriptions over a socket, persisted queries.
import { createHash } from 'node:crypto'

import { ApolloClient, HttpLink, InMemoryCache, gql } from '@apollo/client'
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries'
import { GraphQLWsLink } from '@apollo/client/link/subscriptions'
import { createClient } from 'graphql-ws'
import WebSocket from 'ws'

import {
  COMPANIES, MESSAGE, SEND, WATCH, address, authorization, ensure, followOne, report, sent, sms, socketAddress,
} from './checks.js'

const requests = []
const http = new HttpLink({
  uri: address,
  headers: { authorization },
  fetch: (url, options) => {
    requests.push(options.body ? JSON.parse(options.body) : { url: String(url) })
    return fetch(url, options)
  },
})
const cacheless = { fetchPolicy: 'no-cache' }
const client = new ApolloClient({ link: http, cache: new InMemoryCache() })

const sendOne = async () => sent((await client.mutate({ mutation: gql(SEND), variables: { input: sms() } })).data.sendMessage)

async function hashesFirst(options) {
  const sha256 = (text) => createHash('sha256').update(text).digest('hex')
  const link = new PersistedQueryLink({ sha256, ...options }).concat(http)
  const persisting = new ApolloClient({ link, cache: new InMemoryCache() })
  // Of its own, so that nobody has registered it before.
  const query = gql(COMPANIES.replace('Companies', `Companies${options.useGETForHashedQueries ? 'Get' : ''}${Date.now()}`))
  const counts = []
  for (let turn = 0; turn < 2; turn += 1) {
    requests.length = 0
    ensure((await persisting.query({ query, ...cacheless })).data.integrations.length > 0)
    counts.push(requests.map((one) => (one.query ? 'text' : 'hash')))
  }
  ensure(JSON.stringify(counts) === '[["hash","text"],["hash"]]', counts)
}

await report({
  async query() {
    ensure((await client.query({ query: gql(COMPANIES) })).data.integrations.length > 0)
  },
  async mutation() {
    const { id } = await sendOne()
    const { data } = await client.query({ query: gql(MESSAGE), variables: { id } })
    ensure(data.message.id === id, data)
  },
  async subscription() {
    const socket = createClient({
      url: socketAddress, webSocketImpl: WebSocket, connectionParams: { Authorization: authorization },
    })
    const following = new ApolloClient({ link: new GraphQLWsLink(socket), cache: new InMemoryCache() })
    await followOne((hear) => {
      const subscription = following
        .subscribe({ query: gql(WATCH) })
        .subscribe(({ data }) => hear(data.messageStatusChanged))
      return () => subscription.unsubscribe()
    }, sendOne)
    await socket.dispose()
  },
  'persisted queries': () => hashesFirst({}),
  'persisted queries over GET': () => hashesFirst({ useGETForHashedQueries: true }),
  async 'an error is an error'() {
    const failure = await client.query({ query: gql('{ nothing }') }).catch((error) => error)
    ensure(failure.errors?.[0].extensions.code === 'VALIDATION', String(failure))
  },
})
