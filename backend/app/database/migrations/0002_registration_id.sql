-- The id that a registration gets before its first try, so that an ambiguous commit is confirmed and not repeated.
-- NULL for rows that people insert themselves.
ALTER TABLE public.users ADD COLUMN IF NOT EXISTS registration_id uuid;
CREATE UNIQUE INDEX IF NOT EXISTS users_registration_id_key ON public.users (registration_id);
