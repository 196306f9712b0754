/** The Explorer: GraphiQL with examples that run as they are, signed in where the server gives out a token. */
import 'graphiql/setup-workers/vite'

import { explorerPlugin } from '@graphiql/plugin-explorer'
import { createLocalStorage } from '@graphiql/toolkit'
import { GraphiQL } from 'graphiql'
import { createRoot } from 'react-dom/client'

import '@graphiql/react/style.css'
import '@graphiql/plugin-doc-explorer/style.css'
import '@graphiql/plugin-explorer/style.css'
import 'graphiql/graphiql.css'
import './style.css'

import { examples } from './examples'
import { createFetcher } from './fetcher'
import { Listening } from './listening'

/** What the server tells this page; the token only in development, and only on the machine it runs on. */
interface Config {
  token: string | null
}

const config: Config = await (await fetch('config.json')).json()
const headers = JSON.stringify({ authorization: `Bearer ${config.token ?? ''}` }, null, 2)

const fetcher = createFetcher(new URL('../graphql', location.href).href)

const explorer = explorerPlugin({ showAttribution: false })

createRoot(document.getElementById('explorer')!).render(
  <GraphiQL
    fetcher={fetcher}
    // Other projects have their GraphiQL on this port on other days.
    storage={createLocalStorage({ namespace: 'interalpha' })}
    defaultTabs={examples.map((query) => ({ query, headers }))}
    defaultHeaders={headers}
    // Closed at first, both the headers and the builder: the code and its answer need the room.
    defaultEditorToolsVisibility={false}
    shouldPersistHeaders={false}
    showPersistHeadersSettings={false}
    // Without GraphiQL's history: it would keep each query's headers, and so tokens, in the browser's storage.
    plugins={[explorer]}
    inputValueDeprecation
    schemaDescription
  >
    <GraphiQL.Logo>Interalpha</GraphiQL.Logo>
    <GraphiQL.Footer>
      <Listening />
    </GraphiQL.Footer>
  </GraphiQL>,
)
