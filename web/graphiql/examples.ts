/** The examples, one for each tab: the files of `examples/` in the order of their names. */
const files = import.meta.glob<string>('./examples/*.graphql', { query: '?raw', import: 'default', eager: true })

export const examples = Object.keys(files)
  .sort()
  .map((name) => files[name]!)
