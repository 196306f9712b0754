// Server-Sent Events in distinct connections mode, spoken by their reference client.
import { createClient } from 'graphql-sse'

import { COMPANIES, SEND, WATCH, address, authorization, ensure, followOne, report, sendPlainly, sent, sms } from './checks.js'

const client = createClient({ url: address, headers: { authorization }, retryAttempts: 0 })

function ask(query, variables) {
  return new Promise((resolve, reject) => {
    let answer
    client.subscribe({ query, variables }, { next: (value) => (answer = value), error: reject, complete: () => resolve(answer) })
  })
}

await report({
  async query() {
    ensure((await ask(COMPANIES)).data.integrations.length > 0)
  },
  async mutation() {
    sent((await ask(SEND, { input: sms() })).data.sendMessage)
  },
  async subscription() {
    const listen = (hear) =>
      client.subscribe({ query: WATCH }, { next: ({ data }) => hear(data.messageStatusChanged), error() {}, complete() {} })
    await followOne(listen, sendPlainly)
  },
  async 'what is refused is told in the stream'() {
    ensure((await ask('{ nothing }')).errors[0].extensions.code === 'VALIDATION')
  },
})
