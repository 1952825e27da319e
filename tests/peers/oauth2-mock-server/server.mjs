// The mock server as it is, on a port of the caller's choice.
import { OAuth2Server } from 'oauth2-mock-server';

const server = new OAuth2Server();
await server.issuer.keys.generate('RS256');
await server.start(+process.env.PORT, '127.0.0.1');
server.issuer.url = `http://127.0.0.1:${process.env.PORT}`;
console.error('listening', server.issuer.url);
