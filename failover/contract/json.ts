/** Reads JSON that comes from outside the process. */
import type { z } from 'zod';

/** The value in the text; null when the text is no JSON or does not fit the schema. */
export function fromJson<T>(schema: z.ZodType<T>, text: string): T | null {
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    return null;
  }
}
