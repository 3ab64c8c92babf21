// A Helia node as a process: commands on stdin, one a line, one JSON answer each on stdout. Loopback only.
//   connect ADDRESS            files CID                 serve DIR
//   provide CID                providers CID             put-ipns NAME FILE       get-ipns NAME
//   make-ipns FILE VALUE [rsa] verified URL WHAT         stop
// Arguments: [--dht PROTOCOL]. WHAT: ipfs://CID/path, or ipns://NAME with the routing of the same URL.
import fs from 'node:fs'
import path from 'node:path'
import { createHash } from 'node:crypto'
import { createInterface } from 'node:readline'
import { withBitswap } from '@helia/bitswap'
import { withHTTP } from '@helia/http'
import { withLibp2pLight } from '@helia/libp2p'
import { unixfs } from '@helia/unixfs'
import { createVerifiedFetchWithHelia } from '@helia/verified-fetch'
import { noise } from '@libp2p/noise'
import { yamux } from '@libp2p/yamux'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { identify } from '@libp2p/identify'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createHeliaLight } from 'helia'
import { createIPNSRecord, marshalIPNSRecord, multihashToIPNSRoutingKey, unmarshalIPNSRecord } from 'ipns'
import { ipnsSelector } from 'ipns/selector'
import { ipnsValidator } from 'ipns/validator'
import { base36 } from 'multiformats/bases/base36'
import { CID } from 'multiformats/cid'

const DEADLINE_MS = Number(process.env.DEADLINE_MS ?? 20000)
const words = process.argv.slice(1) // there is no file name: the source is an argument
const protocol = words[0] === '--dht' ? words[1] : undefined
const dht = protocol && kadDHT({
  protocol,
  clientMode: false,
  peerInfoMapper: passthroughMapper,
  allowQueryWithZeroPeers: true,
  validators: { ipns: ipnsValidator },
  selectors: { ipns: ipnsSelector }
})
const node = await withBitswap(withLibp2pLight(createHeliaLight(), {
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify(), ping: ping(), ...(dht ? { dht } : {}) }
})).start()
const files = unixfs(node)

const signal = () => AbortSignal.timeout(DEADLINE_MS)
const sha256 = () => createHash('sha256')
const routingKey = name => multihashToIPNSRoutingKey(CID.parse(name, name[0] === 'k' ? base36 : undefined).multihash)

async function * digests (cid, at, options) {
  for await (const entry of files.ls(cid, options)) {
    const name = at === '' ? entry.name : at + '/' + entry.name
    if ((await files.stat(entry.cid, options)).type === 'directory') {
      yield * digests(entry.cid, name, options)
    } else {
      const hash = sha256()
      for await (const part of files.cat(entry.cid, options)) hash.update(part)
      yield [name, hash.digest('hex')]
    }
  }
}

function * filesBelow (folder, at = '') {
  for (const entry of fs.readdirSync(path.join(folder, at), { withFileTypes: true })) {
    const name = path.join(at, entry.name)
    if (entry.isDirectory()) yield * filesBelow(folder, name)
    else yield { path: name, content: fs.createReadStream(path.join(folder, name)) }
  }
}

const commands = {
  connect: async address => {
    const connection = await node.libp2p.dial(multiaddr(address), { signal: signal() })
    await node.libp2p.services.ping.ping(connection.remotePeer, { signal: signal() })
    const end = Date.now() + DEADLINE_MS
    while (dht && node.libp2p.services.dht.routingTable.size === 0 && Date.now() < end) {
      await new Promise(resolve => setTimeout(resolve, 50)) // the DHT takes it in once it is identified; no event says so
    }
    return { encryption: connection.encryption, muxer: connection.multiplexer }
  },
  files: async cid => Object.fromEntries(await Array.fromAsync(digests(CID.parse(cid), '', { signal: signal() }))),
  serve: async folder => {
    let root
    for await (const entry of files.addAll(filesBelow(folder), { wrapWithDirectory: true })) root = entry.cid
    return root.toString()
  },
  provide: async cid => { await node.libp2p.contentRouting.provide(CID.parse(cid), { signal: signal() }) },
  providers: async cid => {
    for await (const found of node.libp2p.contentRouting.findProviders(CID.parse(cid), { signal: signal() })) {
      return { id: found.id.toString(), addresses: found.multiaddrs.map(String) }
    }
    return null
  },
  'put-ipns': async (name, file) => {
    await node.libp2p.contentRouting.put(routingKey(name), new Uint8Array(fs.readFileSync(file)), { signal: signal() })
  },
  'get-ipns': async name => {
    const raw = await node.libp2p.contentRouting.get(routingKey(name), { signal: signal() })
    await ipnsValidator(routingKey(name), raw)
    return unmarshalIPNSRecord(raw).value
  },
  'make-ipns': async (file, value, kind) => {
    const key = kind === 'rsa' ? await generateKeyPair('RSA', 2048) : await generateKeyPair('Ed25519')
    fs.writeFileSync(file, marshalIPNSRecord(await createIPNSRecord(key, value, 1, 3600 * 1000)))
    return key.publicKey.toCID().toString(base36)
  },
  verified: async (url, what) => {
    const light = createHeliaLight()
    // Without a router that is no fallback, findProviders of Helia 7 never ends.
    light.addRouter({ name: 'none', capabilities: () => ['findProviders'], async * findProviders () {}, toString: () => 'none' })
    const reader = await withHTTP(light, {
      recursiveGateways: [url], delegatedRouters: [url], allowInsecure: true, allowLocal: true
    }).start()
    const fetch = await createVerifiedFetchWithHelia(reader)
    try {
      const response = await fetch(what, { signal: signal() })
      const body = new Uint8Array(await response.arrayBuffer())
      if (!response.ok) throw new Error(`status ${response.status}`)
      return { status: response.status, sha256: sha256().update(body).digest('hex') }
    } finally {
      await fetch.stop()
    }
  }
}

const say = value => process.stdout.write(JSON.stringify(value) + '\n')
const alive = setInterval(() => {}, 1000) // a deadline alone does not keep the process
say({ id: node.libp2p.peerId.toString(), address: node.libp2p.getMultiaddrs()[0].toString() })
for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...rest] = line.split(' ')
  if (command === 'stop') break
  try {
    say({ result: await commands[command](...rest) ?? null })
  } catch (error) {
    say({ error: `${error.name}: ${error.message}` })
  }
}
clearInterval(alive)
await node.stop()
process.exit(0)
