/** The password of the database's owner, as this monitor and one of an earlier release send it. */
import { expect, it } from 'vitest';
import { newVerifier, verifierOf } from '../../failover/contract/scram';
import { ownerLogin } from '../../failover/keeper/postgres/furnish';
import { SETTINGS } from './fakes';

const { databasePassword: _, ...WITHOUT } = SETTINGS;
const SALT = Buffer.alloc(16, 1);

it('is set by its verifier, and stays when the role has that one', async () => {
  const databaseVerifier = await verifierOf("it's 12345", SALT);
  const login = ownerLogin({ ...WITHOUT, databaseVerifier });
  expect(await login(null)).toBe(databaseVerifier);
  expect(await login(await verifierOf('another', SALT))).toBe(databaseVerifier);
  expect(await login(databaseVerifier)).toBeNull();
});

it('gives the same verifier for the same salt, one that fits the password', async () => {
  const verifier = await verifierOf("it's 12345", SALT);
  expect(verifier).toBe(
    'SCRAM-SHA-256$4096:AQEBAQEBAQEBAQEBAQEBAQ==$hn5cGzYRisBm3ujfuWXm+NxYD9xt7bA5yp8b8UJqmJI=:ZPQbqcr6IUmcfocQjT5Y9oht+t5K9Y92Fx5kkcEyL9A=',
  );
  expect(await newVerifier("it's 12345", verifier)).toBeNull();
  expect(await newVerifier('another', verifier)).not.toBeNull();
});

it('is taken from a password when there is no verifier', async () => {
  const login = ownerLogin({ ...WITHOUT, databasePassword: 'secret' });
  const made = await login(null);
  expect(await login(made)).toBeNull();
  expect(await newVerifier('secret', made)).toBeNull();
});

it('stays as it is when neither is sent', async () => {
  expect(await ownerLogin(WITHOUT)('stored')).toBeNull();
});
