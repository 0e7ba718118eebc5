// oidc-provider in two processes, with its adapter in memory: client_credentials, for access tokens that are JWTs.
// Which algorithm signs one is the resource's: that of urn:bench:HS256 has a shared secret, that of urn:bench:RS256 not.
import cluster from "node:cluster";
import { createSecretKey, generateKeyPairSync } from "node:crypto";

import { Provider } from "oidc-provider";

const { PORT, CLIENT_ID, CLIENT_SECRET, SIGNING_SECRET } = process.env;

function serve() {
  const secret = createSecretKey(Buffer.from(SIGNING_SECRET));
  const provider = new Provider(`http://127.0.0.1:${PORT}`, {
    clients: [
      {
        client_id: CLIENT_ID,
        client_secret: CLIENT_SECRET,
        grant_types: ["client_credentials"],
        response_types: [],
        redirect_uris: [],
      },
    ],
    jwks: { keys: [JSON.parse(process.env.SIGNING_KEY)] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (ctx, resource) => {
          const alg = resource.split(":").pop();
          return {
            scope: "",
            accessTokenFormat: "jwt",
            accessTokenTTL: 3600,
            jwt: { sign: alg === "HS256" ? { alg, key: secret } : { alg } },
          };
        },
      },
    },
  });
  provider.on("server_error", (ctx, error) => console.error(error));
  provider.listen(Number(PORT), "127.0.0.1");
}

if (cluster.isPrimary) {
  // One for both: either of them may be asked for the public part.
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const key = { ...privateKey.export({ format: "jwk" }), alg: "RS256", use: "sig" };
  for (let started = 0; started < 2; started += 1) {
    cluster.fork({ SIGNING_KEY: JSON.stringify(key) });
  }
  // A worker that died would leave half a server, to be measured as a whole one.
  cluster.on("exit", () => process.exit(1));
  process.on("SIGTERM", () => process.exit(0));
} else {
  serve();
}
