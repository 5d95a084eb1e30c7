/**
 * The bcrypt hash that `RandomPassword` returns beside the password (Provos and Mazières, "A Future-Adaptable Password
 * Scheme", 1999). Node has no bcrypt, and one output does not justify a dependency.
 */
const ROUNDS = 16;
const P_WORDS = ROUNDS + 2;
const S_WORDS = 4 * 256;
const ALPHABET = './ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
/** Longer passwords are cut, as in every bcrypt implementation. */
const KEY_LIMIT_BYTES = 72;

let piWords: Uint32Array | undefined;

/** Blowfish starts with the digits of pi after the point. They are computed by Machin's formula. */
function digitsOfPi(): Uint32Array {
  if (piWords) return piWords;
  const words = P_WORDS + S_WORDS;
  const bits = BigInt(words * 32 + 64);
  const arctanOfInverse = (x: bigint) => {
    let power = (1n << bits) / x;
    let sum = power;
    for (let n = 3n, sign = -1n; power > 0n; n += 2n, sign = -sign) {
      power /= x * x;
      sum += (sign * power) / n;
    }
    return sum;
  };
  const pi = 16n * arctanOfInverse(5n) - 4n * arctanOfInverse(239n);
  const hex = ((pi & ((1n << bits) - 1n)) >> 64n).toString(16).padStart(words * 8, '0');
  piWords = Uint32Array.from({ length: words }, (_, i) => Number.parseInt(hex.slice(i * 8, i * 8 + 8), 16));
  return piWords;
}

/** Blowfish with bcrypt's key schedule. `state` is the P-array followed by the four S-boxes. */
class Blowfish {
  private readonly state = Int32Array.from(digitsOfPi());
  left = 0;
  right = 0;

  private at(index: number): number {
    return this.state[index] ?? 0;
  }

  /** Encrypts `left` and `right` in place, which makes 2000 key schedules fast enough. */
  encrypt(): void {
    let l = this.left;
    let r = this.right;
    for (let i = 0; i < ROUNDS; i++) {
      l ^= this.at(i);
      const a = (this.at(P_WORDS + (l >>> 24)) + this.at(P_WORDS + 256 + ((l >>> 16) & 255))) | 0;
      const f = ((a ^ this.at(P_WORDS + 512 + ((l >>> 8) & 255))) + this.at(P_WORDS + 768 + (l & 255))) | 0;
      const next = r ^ f;
      r = l;
      l = next;
    }
    this.left = r ^ this.at(ROUNDS + 1);
    this.right = l ^ this.at(ROUNDS);
  }

  expand(key: Int32Array, salt: Int32Array): void {
    for (let i = 0; i < P_WORDS; i++) this.state[i] = this.at(i) ^ (key[i] ?? 0);
    this.left = 0;
    this.right = 0;
    for (let i = 0; i < this.state.length; i += 2) {
      this.left ^= salt[i % salt.length] ?? 0;
      this.right ^= salt[(i + 1) % salt.length] ?? 0;
      this.encrypt();
      this.state[i] = this.left;
      this.state[i + 1] = this.right;
    }
  }
}

/** The first `count` words of the endlessly repeated bytes. */
function cyclicWords(bytes: Buffer, count: number): Int32Array {
  const byte = (index: number) => bytes[index % bytes.length] ?? 0;
  return Int32Array.from({ length: count }, (_, i) =>
    [0, 1, 2, 3].reduce((word, offset) => (word << 8) | byte(i * 4 + offset), 0),
  );
}

/** @param salt 16 bytes @param cost the logarithm of the number of rounds */
export function bcryptHash(password: string, salt: Buffer, cost: number): string {
  const bytes = Buffer.concat([Buffer.from(password, 'utf8').subarray(0, KEY_LIMIT_BYTES), Buffer.of(0)]);
  const key = cyclicWords(bytes, P_WORDS);
  const saltAsKey = cyclicWords(salt, P_WORDS);
  const nothing = new Int32Array(4);
  const cipher = new Blowfish();
  cipher.expand(key, cyclicWords(salt, 4));
  for (let i = 0; i < 2 ** cost; i++) {
    cipher.expand(key, nothing);
    cipher.expand(saltAsKey, nothing);
  }
  const text = Buffer.from('OrpheanBeholderScryDoubt');
  for (let at = 0; at < text.length; at += 8) {
    cipher.left = text.readInt32BE(at);
    cipher.right = text.readInt32BE(at + 4);
    for (let i = 0; i < 64; i++) cipher.encrypt();
    text.writeInt32BE(cipher.left, at);
    text.writeInt32BE(cipher.right, at + 4);
  }
  return `$2a$${String(cost).padStart(2, '0')}$${base64(salt)}${base64(text.subarray(0, 23))}`;
}

/** bcrypt's own alphabet, without padding. */
function base64(bytes: Buffer): string {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  const sixes = bits.match(/.{1,6}/g) ?? [];
  return sixes.map((six) => ALPHABET.charAt(Number.parseInt(six.padEnd(6, '0'), 2))).join('');
}
