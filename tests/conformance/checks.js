// What all clients are asked to do, and how they report it: one JSON object on stdout, name by name.

export const address = process.env.GRAPHQL_URL
export const socketAddress = address.replace(/^http/, 'ws')
export const token = process.env.TOKEN
export const authorization = `Bearer ${token}`

export const COMPANIES = 'query Companies { integrations { id name kind } }'
export const MESSAGE = 'query Message($id: ID!) { message(id: $id) { id status toMasked } }'
export const SEND = `mutation Send($input: SendMessageInput!) {
  sendMessage(input: $input) { message { id status } isReplay errors { __typename ... on UserError { message } } }
}`
export const WATCH = `subscription Watch {
  messageStatusChanged { previousStatus event { status } message { id status } }
}`

export const PATIENCE = 10_000
let number = 987_000_000 + (Number(process.env.NUMBERS) || 0)

/** An SMS to somebody nobody else writes to. */
export function sms() {
  number += 1
  return { to: { phone: `+5511${number}` }, content: { text: 'Olá, Ana!' }, route: [{ channel: 'SMS' }] }
}

export function ensure(condition, ...said) {
  if (!condition) throw new Error(said.map((one) => JSON.stringify(one)).join(' '))
}

/** The message a payload brings; without one, or with errors, the check fails. */
export function sent(payload) {
  ensure(payload?.message && payload.errors.length === 0, payload)
  return payload.message
}

export function isDelivered(change, id) {
  return change.message.id === id && change.event.status === 'DELIVERED'
}

/** Waits for something, and not longer than is decent. */
export function within(promise, what, patience = PATIENCE) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come in time`)), patience)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

/** Follows until a message sent meanwhile is reported delivered; `follow` takes a listener and returns how to stop. */
export async function followOne(follow, send) {
  const heard = []
  let check = () => {}
  const stop = await follow((change) => {
    heard.push(change)
    check()
  })
  try {
    const { id } = await send()
    await within(
      new Promise((resolve) => {
        check = () => heard.some((change) => isDelivered(change, id)) && resolve()
        check()
      }),
      'DELIVERED',
    )
  } finally {
    await stop()
  }
}

/** Sends without any client library, for those that only follow. */
export async function sendPlainly() {
  const answer = await fetch(address, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json' },
    body: JSON.stringify({ query: SEND, variables: { input: sms() } }),
  })
  return sent((await answer.json()).data.sendMessage)
}

export async function report(checks) {
  const results = {}
  for (const [name, check] of Object.entries(checks)) {
    try {
      await within(check(), name, 2 * PATIENCE)
      results[name] = 'ok'
    } catch (error) {
      results[name] = String(error?.stack ?? error)
    }
  }
  process.stdout.write(JSON.stringify(results), () => process.exit(0))
}
