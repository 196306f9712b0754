// Follows every message until Ctrl-C:   npm run watch
import { follow, run } from './client.js'
import { graphql } from './graphql/index.js'

const Watch = graphql(`
  subscription Watch {
    messageStatusChanged {
      previousStatus
      event {
        status
        at
      }
      message {
        id
        channel
        toMasked
      }
    }
  }
`)

await run(async () => {
  for await (const { messageStatusChanged: change } of follow(Watch, {})) {
    const { channel, toMasked } = change.message
    console.log(change.event.at, channel, toMasked, `${change.previousStatus ?? '·'} → ${change.event.status}`)
  }
  return true
})
