// graphql-transport-ws, spoken by its reference client.
import { createClient } from 'graphql-ws'
import WebSocket from 'ws'

import {
  COMPANIES, MESSAGE, PATIENCE, SEND, WATCH, authorization, ensure, followOne, report, sendPlainly, sent, sms, socketAddress,
  within,
} from './checks.js'

const short = () => ({ Authorization: `Bearer ${process.env.SHORT_TOKEN}` })

function connect(options = {}) {
  return createClient({
    url: socketAddress,
    webSocketImpl: WebSocket,
    connectionParams: { Authorization: authorization },
    retryAttempts: 0,
    ...options,
  })
}

function ask(client, query, variables) {
  return new Promise((resolve, reject) => {
    let answer
    client.subscribe({ query, variables }, { next: (value) => (answer = value), error: reject, complete: () => resolve(answer) })
  })
}

function listen(client) {
  return (hear) =>
    client.subscribe({ query: WATCH }, { next: ({ data }) => hear(data.messageStatusChanged), error() {}, complete() {} })
}

const closed = (client) => new Promise((resolve) => client.on('closed', (event) => resolve(event.code)))

async function endsWithItsToken() {
  const client = connect({ connectionParams: short })
  const code = closed(client)
  ask(client, WATCH).catch(() => {})
  ensure((await within(code, 'the end', 2 * PATIENCE)) === 4401, await code)
}

async function outlivesItsToken() {
  let socket
  let code
  const client = connect({
    connectionParams: short,
    on: {
      opened: (opened) => (socket = opened),
      closed: (event) => (code = event.code),
      ping: (received, payload) =>
        received && payload && socket.send(JSON.stringify({ type: 'ping', payload: { Authorization: authorization } })),
    },
  })
  const stop = listen(client)(() => {})
  await new Promise((resolve) => setTimeout(resolve, 1000 * Number(process.env.SHORT_SECONDS) + 500))
  ensure(code === undefined, code)
  await followOne(listen(client), sendPlainly)
  stop()
  await client.dispose()
}

// Begun at once, since the short token does not wait for the other checks.
const [ended, outlived] = [endsWithItsToken(), outlivesItsToken()].map((check) => check.catch((error) => () => { throw error }))
const settled = (check) => async () => (await check)?.()

await report({
  async query() {
    const client = connect()
    ensure((await ask(client, COMPANIES)).data.integrations.length > 0)
    await client.dispose()
  },
  async mutation() {
    const client = connect()
    const { id } = sent((await ask(client, SEND, { input: sms() })).data.sendMessage)
    ensure((await ask(client, MESSAGE, { id })).data.message.id === id)
    await client.dispose()
  },
  async subscription() {
    const client = connect()
    await followOne(listen(client), sendPlainly)
    await client.dispose()
  },
  async 'a syntax error is an error of its own operation'() {
    const client = connect({ lazy: false })
    let code
    client.on('closed', (event) => (code = event.code))
    const errors = await ask(client, '{').catch((error) => error)
    ensure(Array.isArray(errors) && errors[0].extensions.code === 'SYNTAX', errors)
    ensure((await ask(client, COMPANIES)).data && code === undefined, code)
    await client.dispose()
  },
  async 'credentials nobody issued close the socket'() {
    const client = connect({ connectionParams: { Authorization: 'Bearer nobody' } })
    const code = closed(client)
    await ask(client, COMPANIES).catch(() => {})
    ensure((await code) === 4403, await code)
  },
  'a socket ends with its token': settled(ended),
  'a socket outlives its token by a fresh one': settled(outlived),
})
