// Sends an SMS and waits until it has arrived:   npm run send -- "+55 11 98765-4321" "Olá, Ana!"
import { randomUUID } from 'node:crypto'

import { RequestFailed, ask, follow, run } from './client.js'
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

await run(async () => {
  const [phone, text] = process.argv.slice(2)
  if (!phone || !text) throw new RequestFailed('Give a phone number and a text: npm run send -- "+55 11 98765-4321" "Olá!"')

  const { sendMessage } = await ask(Send, {
    input: {
      to: { phone: phone.replaceAll(/[^+\d]/g, '') },
      content: { text },
      route: [{ channel: 'SMS' }],
      // The same key again is the same message again, so a request whose answer was lost may be repeated.
      idempotencyKey: randomUUID(),
    },
  })
  for (const error of sendMessage?.errors ?? []) console.error(`${error.__typename}: ${error.message}`)
  const message = sendMessage?.message
  if (!message) return false

  console.log(`${message.status}  ${message.toMasked}`)
  for await (const { messageStatusChanged: change } of follow(FollowOne, { ids: [message.id] })) {
    const status = change.event.status
    console.log(status, change.message.failure?.reason ?? '')
    if (OVER.includes(status)) return status === 'DELIVERED' || status === 'READ'
  }
  return false
})
