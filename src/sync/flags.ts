// Flags of sync messages (docs/wire-protocol.md, "Message headers").

export const FLAG = {
  RESYNC: 0x02,
  NACK: 0x04,
  ACK: 0x08,
  ALIVE: 0x10,
  HELLO: 0x20,
  HELLO_BACK: 0x40,
} as const;
