import { z } from 'zod';

/** A write-ahead log position as PostgreSQL prints it, for example `0/3000060`. */
export const Lsn = z.string().regex(/^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/);
