/** The Explorer: GraphiQL with examples that work at once, signed in where the server hands out a token. */
import 'graphiql/setup-workers/vite'

import { explorerPlugin } from '@graphiql/plugin-explorer'
import { createGraphiQLFetcher, createLocalStorage } from '@graphiql/toolkit'
import { GraphiQL } from 'graphiql'
import { createRoot } from 'react-dom/client'

import '@graphiql/react/style.css'
import '@graphiql/plugin-doc-explorer/style.css'
import '@graphiql/plugin-explorer/style.css'
import 'graphiql/graphiql.css'
import './style.css'

import { examples } from './examples'

/** What the server tells this page; the token only in development, and only on the machine it runs on. */
interface Config {
  token: string | null
}

const config: Config = await (await fetch('config.json')).json()
const headers = JSON.stringify({ authorization: `Bearer ${config.token ?? ''}` }, null, 2)

const url = new URL('../graphql', location.href).href
// The socket is opened with the headers editor's content, so that one token serves both.
const fetcher = createGraphiQLFetcher({
  url,
  subscriptionUrl: url.replace(/^http/, 'ws'),
  enableIncrementalDelivery: false,
})

const explorer = explorerPlugin({ showAttribution: false })

createRoot(document.getElementById('explorer')!).render(
  <GraphiQL
    fetcher={fetcher}
    // Other projects have their GraphiQL on this port on other days.
    storage={createLocalStorage({ namespace: 'interalpha' })}
    defaultTabs={examples.map((query) => ({ query, headers }))}
    defaultHeaders={headers}
    defaultEditorToolsVisibility="headers"
    shouldPersistHeaders={false}
    showPersistHeadersSettings={false}
    // Without GraphiQL's history: it would keep each query's headers, and so tokens, in the browser's storage.
    plugins={[explorer]}
    visiblePlugin={explorer}
    inputValueDeprecation
    schemaDescription
  >
    <GraphiQL.Logo>Interalpha</GraphiQL.Logo>
  </GraphiQL>,
)
