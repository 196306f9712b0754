// Sends an SMS and waits until it has arrived:   npm run send -- "+55 11 98765-4321" "Olá, Ana!"
import { randomUUID } from 'node:crypto'

import { ask, follow } from './client.js'
import { graphql } from './graphql/index.js'
import type { MessageStatus } from './graphql/graphql.js'

const Send = graphql(`
  mutation Send($input: SendMessageInput!) {
    sendMessage(input: $input) {
      message {
        id
        status
        toMasked
      }
      isReplay
      errors {
        __typename
        ... on UserError {
          message
          path
        }
      }
    }
  }
`)

const FollowOne = graphql(`
  subscription FollowOne($ids: [ID!]!) {
    messageStatusChanged(filter: { ids: $ids }) {
      event {
        status
      }
      message {
        failure {
          reason
        }
      }
    }
  }
`)

const OVER: readonly MessageStatus[] = ['DELIVERED', 'READ', 'FAILED', 'CANCELED']

const [phone, text] = process.argv.slice(2)
if (!phone || !text) throw new Error('Give a phone number and a text.')

const { sendMessage } = await ask(Send, {
  input: {
    to: { phone: phone.replaceAll(/[^+\d]/g, '') },
    content: { text },
    route: [{ channel: 'SMS' }],
    // The same key again is the same message again, however often a network makes us ask.
    idempotencyKey: randomUUID(),
  },
})
for (const error of sendMessage?.errors ?? []) console.error(`${error.__typename}: ${error.message}`)
const message = sendMessage?.message
if (!message) process.exit(1)

console.log(`${message.status}  ${message.toMasked}`)
for await (const { messageStatusChanged: change } of follow(FollowOne, { ids: [message.id] })) {
  console.log(change.event.status, change.message.failure?.reason ?? '')
  if (OVER.includes(change.event.status)) break
}
process.exit(0)
