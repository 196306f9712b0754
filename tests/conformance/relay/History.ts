// A history that pages, a message that is shown in a fragment, and everything a page does with them.
import { graphql } from 'react-relay'

export const query = graphql`
  query HistoryQuery($first: Int!, $after: String, $filter: MessageFilter) {
    ...History_messages @arguments(first: $first, after: $after, filter: $filter)
    integrations {
      name
      kind
    }
  }
`

export const list = graphql`
  fragment History_messages on Query
  @argumentDefinitions(first: { type: "Int!" }, after: { type: "String" }, filter: { type: "MessageFilter" })
  @refetchable(queryName: "HistoryPaginationQuery") {
    messages(first: $first, after: $after, filter: $filter) @connection(key: "History_messages") {
      edges {
        node {
          ...History_message
        }
      }
    }
  }
`

export const message = graphql`
  fragment History_message on Message @refetchable(queryName: "HistoryMessageQuery") {
    id
    status
    toMasked
    failure {
      reason
    }
  }
`

export const send = graphql`
  mutation HistorySendMutation($input: SendMessageInput!) {
    sendMessage(input: $input) {
      message {
        ...History_message
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
`

export const watch = graphql`
  subscription HistoryWatchSubscription($filter: MessageStatusFilter) {
    messageStatusChanged(filter: $filter) {
      previousStatus
      event {
        status
      }
      message {
        ...History_message
      }
    }
  }
`
