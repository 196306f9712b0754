/** Writes down, beside a page, the licences of everything in it: of scripts, workers, styles, and what they contain. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Plugin } from 'vite'

interface Package {
  name: string
  version?: string
  license?: string
  repository?: string | { url: string }
}

const LEGAL = /^(licen[cs]e|copying|notice|thirdpartynotices)/i
const RULE = '='.repeat(80)

/** Give two plugins: one collects, for the page and for its workers, and one writes the file at the end. */
export function licences(fileName: string): { collect: Plugin; write: Plugin } {
  const folders = new Set<string>()
  return {
    collect: {
      name: 'collect-licences',
      transform(_, id) {
        if (id.includes('/node_modules/')) folders.add(folderOf(id.replace(/^\0|\?.*$/g, '')))
      },
    },
    write: {
      name: 'write-licences',
      generateBundle() {
        // The same package may lie in several folders.
        const entries = new Set([...folders].map((folder) => entry(folder, folders)))
        const source = `This page is made from the following packages.\n${[...entries].sort().join('')}`
        this.emitFile({ type: 'asset', fileName, source })
      },
    },
  }
}

function folderOf(file: string): string {
  let folder = dirname(file)
  // Inside a package another package.json may say of what kind some modules are; only the package's own has a version.
  while (!existsSync(join(folder, 'package.json')) || !read(folder).version) folder = dirname(folder)
  return folder
}

function entry(folder: string, all: Set<string>): string {
  const { name, version, license } = read(folder)
  // Packages of a common repository may leave the text to one of them.
  const sisters = [...all].filter((other) => repositoryOf(other) === repositoryOf(folder)).sort()
  const text = [folder, ...sisters].map(textOf).find((found) => found)
  if (!license && !text) throw new Error(`${name} does not say under which licence it may be given on`)
  const where = `It brings no text. Its source: ${repositoryOf(folder)}\nIts licence: https://spdx.org/licenses/${license}.html\n`
  return `\n${RULE}\n${name} ${version} (${license})\n${RULE}\n\n${text ?? where}`
}

function textOf(folder: string): string {
  const files = readdirSync(folder).filter((file) => LEGAL.test(file))
  return files.map((file) => `${readFileSync(join(folder, file), 'utf8').trim()}\n`).join('\n')
}

function repositoryOf(folder: string): string {
  const { name, repository } = read(folder)
  const url = typeof repository === 'object' ? repository.url : repository
  return url?.replace(/^git\+|\.git$/g, '') ?? name
}

function read(folder: string): Package {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
}
