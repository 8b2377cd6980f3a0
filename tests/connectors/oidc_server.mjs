// A certified OAuth server (npm oidc-provider): codes with PKCE, the device grant, refresh tokens that are
// rotated and end everything when one is shown twice, revocation. On loopback, with one public client.
//     node oidc_server.mjs ENTRY PORT ACCESS_TTL_SECONDS
import { pathToFileURL } from 'node:url';

const [entry, port, ttl] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(entry).href);

const day = 24 * 3600;
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: 'the-hub',
    token_endpoint_auth_method: 'none',
    application_type: 'native', // so any port of this machine may be redirected to (RFC 8252, 7.3)
    redirect_uris: ['http://127.0.0.1/'],
    response_types: ['code'],
    grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
  }],
  scopes: ['openid', 'offline_access', 'email'],
  claims: { email: ['email'] },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@example.org` }) }),
  features: {
    devInteractions: { enabled: true }, // pages without a password: a test clicks through them
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
  },
  rotateRefreshToken: true,
  clockTolerance: 0,
  issueRefreshToken: (_, client, code) => code.scopes.has('offline_access'),
  ttl: { AccessToken: +ttl, DeviceCode: 600, RefreshToken: day, Grant: day, Session: day, Interaction: 600, IdToken: 60 },
  cookies: { keys: ['of the tests'] },
});
provider.listen(+port, '127.0.0.1');
