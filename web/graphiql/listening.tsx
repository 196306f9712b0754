/** The line below the response while a subscription runs: GraphiQL itself shows a spinner and nothing else. */
import { useGraphiQL } from '@graphiql/react'
import { useSyncExternalStore } from 'react'

import { eventCount } from './fetcher'

export function Listening() {
  const query = useGraphiQL((state) => state.queryEditor?.getValue() ?? '')
  const isRunning = useGraphiQL((state) => Boolean(state.subscription))
  const count = useSyncExternalStore(eventCount.subscribe, eventCount.get)
  if (!isRunning || !/^\s*subscription\b/m.test(query)) return null
  return (
    <p className="listening" role="status">
      {count === 0
        ? 'Listening. No event yet: send a message from a terminal or a second window. Choosing another tab stops listening.'
        : `Listening. ${count} ${count === 1 ? 'event' : 'events'} so far; the newest is shown.`}
    </p>
  )
}
