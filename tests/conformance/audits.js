// The official audits of GraphQL over HTTP.
import { serverAudits } from 'graphql-http'

import { address } from './checks.js'

const results = {}
for (const audit of serverAudits({ url: address })) {
  const { status, reason, name } = await audit.fn()
  results[`${audit.id} ${name}`] = status === 'ok' ? 'ok' : reason
}
process.stdout.write(JSON.stringify(results))
