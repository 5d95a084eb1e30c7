/** A SCRAM verifier as PostgreSQL writes it (manual 52.8, pg_authid), which no password fits. */
export const VERIFIER = `SCRAM-SHA-256$4096:${'A'.repeat(22)}==$${'B'.repeat(43)}=:${'C'.repeat(43)}=`;
