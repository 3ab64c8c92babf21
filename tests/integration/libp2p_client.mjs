// js-libp2p as a peer: JSON lines on stdout, commands on stdin (connect ADDRESS, echo PEER BYTES, reset PEER, stop).
// Serves /echo/1. Run with --input-type=module -e in a folder whose node_modules has libp2p.
import { createInterface } from 'node:readline'
import { randomBytes } from 'node:crypto'
import { multiaddr } from '@multiformats/multiaddr'
import { peerIdFromString } from '@libp2p/peer-id'
import { createLibp2p } from 'libp2p'
import { tcp } from '@libp2p/tcp'
import { noise } from '@libp2p/noise'
import { yamux } from '@libp2p/yamux'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify(), ping: ping() }
})

const send = async (stream, data) => { if (!stream.send(data)) await stream.onDrain() }

await node.handle('/echo/1', async stream => {
  try {
    for await (const chunk of stream) await send(stream, chunk)
    await stream.close()
  } catch {}
})

const echo = async (peer, count) => {
  const stream = await node.dialProtocol(peer, '/echo/1')
  const sent = randomBytes(count)
  const received = []
  const reading = (async () => { for await (const chunk of stream) received.push(chunk.subarray()) })()
  for (let at = 0; at < count; at += 50000) await send(stream, sent.subarray(at, at + 50000))
  await stream.close()
  await reading
  return Buffer.concat(received).equals(sent)
}

const commands = {
  connect: async address => {
    const connection = await node.dial(multiaddr(address))
    const rtt = await node.services.ping.ping(connection.remotePeer)
    for (let i = 0; i < 50; i++) {
      const { protocols } = await node.peerStore.get(connection.remotePeer)
      if (protocols.length > 0) return { peer: connection.remotePeer.toString(), protocols, rtt, muxer: connection.multiplexer }
      await new Promise(resolve => setTimeout(resolve, 100))
    }
    throw new Error('identify did not end')
  },
  echo: (peer, count) => echo(peerIdFromString(peer), Number(count)),
  many: async (peer, count) => {
    const all = await Promise.all(Array.from({ length: Number(count) }, () => echo(peerIdFromString(peer), 20000)))
    return all.every(Boolean)
  },
  reset: async peer => {
    const stream = await node.dialProtocol(peerIdFromString(peer), '/echo/1')
    await send(stream, randomBytes(1000))
    stream.abort(new Error('reset on purpose'))
    return true
  }
}

const say = value => process.stdout.write(JSON.stringify(value) + '\n')
say({ peer: node.peerId.toString(), addresses: node.getMultiaddrs().map(String) })
for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...words] = line.split(' ')
  try {
    say({ result: await commands[command](...words) })
  } catch (error) {
    say({ error: error.name, message: error.message })
  }
}
await node.stop()
process.exit(0)
