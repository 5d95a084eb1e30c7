/** Reads JSON that comes from outside the process. */
import type { z } from 'zod';

/** The value in the text; null when it is no JSON. A caller that checks it with a schema can say what does not fit. */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** The value in the text; null when the text is no JSON or does not fit the schema. */
export function fromJson<T>(schema: z.ZodType<T>, text: string): T | null {
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    return null;
  }
}
