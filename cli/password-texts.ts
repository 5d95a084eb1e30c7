/** What to do about a password that was changed by SQL: for doctor, and for the wait of `up`. */
export const PASSWORD_BY_SQL_NEXT =
  'npm run failover -- password use-program sets the program’s again. To keep the one that SQL set: npm run failover -- password keep-database --password-stdin, then npm run up.';
/** SQLSTATEs of a refused password: invalid_password, invalid_authorization_specification. */
export const BAD_PASSWORD: readonly string[] = ['28P01', '28000'];
