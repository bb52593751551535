/** Two self-signed certificates for 127.0.0.1 and localhost, good until 2036; test material only. */

import { connect } from "node:tls";

import type { TlsMaterial } from "../../src/server/listener.ts";

/** Its subject is CN=one. */
export const TLS_ONE: TlsMaterial = {
  certificatePem: `-----BEGIN CERTIFICATE-----
MIIBjjCCATOgAwIBAgIUUFZlZom3NCp+evpOZ7yL9111TBYwCgYIKoZIzj0EAwIw
DjEMMAoGA1UEAwwDb25lMB4XDTI2MTEyMTE0NDEzN1oXDTM2MTExODE0NDEzN1ow
DjEMMAoGA1UEAwwDb25lMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEVxbv4bzR
/ZwIw3gOb3q5/R06gIkggCskePtVeoiDcGNLkOVfe4kh6h0DFR1q7rSmVRjtTw2U
SvHuXyu1vbEPt6NvMG0wHQYDVR0OBBYEFO9RCVmqwwQ1qzZwtWcKBp6HgV47MB8G
A1UdIwQYMBaAFO9RCVmqwwQ1qzZwtWcKBp6HgV47MA8GA1UdEwEB/wQFMAMBAf8w
GgYDVR0RBBMwEYIJbG9jYWxob3N0hwR/AAABMAoGCCqGSM49BAMCA0kAMEYCIQDU
i9Fv7J3PFOl2Q8SS2s6OalYg4YNKW0riC21fK19gIgIhAMKerMSwM5TNCVd11R9g
zAHmyhDmm2Jhu3kApsrOxDA9
-----END CERTIFICATE-----`,
  keyPem: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg9xe4j7D3bPx3nbGq
aHpDPEmlaBhxJZue0d4wN5nBS/ShRANCAARXFu/hvNH9nAjDeA5vern9HTqAiSCA
KyR4+1V6iINwY0uQ5V97iSHqHQMVHWrutKZVGO1PDZRK8e5fK7W9sQ+3
-----END PRIVATE KEY-----`,
};

/** Its subject is CN=two. */
export const TLS_TWO: TlsMaterial = {
  certificatePem: `-----BEGIN CERTIFICATE-----
MIIBjTCCATOgAwIBAgIUKwbXfkrDdPoChHfWmK6NfNGhXxQwCgYIKoZIzj0EAwIw
DjEMMAoGA1UEAwwDdHdvMB4XDTI2MTEyMTE0NDEzN1oXDTM2MTExODE0NDEzN1ow
DjEMMAoGA1UEAwwDdHdvMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEmZwl/GM0
nVP1F55LGIUEYVa7+pcS1NC//1uvVUTOseN7OK1DIiIq3j2qNw72ohvi/gw26l7I
o2Y/OnyYItSPxKNvMG0wHQYDVR0OBBYEFGOxfTFwpOaSJyRDmNteGBj4ReuVMB8G
A1UdIwQYMBaAFGOxfTFwpOaSJyRDmNteGBj4ReuVMA8GA1UdEwEB/wQFMAMBAf8w
GgYDVR0RBBMwEYIJbG9jYWxob3N0hwR/AAABMAoGCCqGSM49BAMCA0gAMEUCIQDf
BQ3nUdUMZEcrmwBFWY8no2SP+nrhiuPNHTnjuhGyQwIgLCSTUvrAa8zE6XIQBm7h
CU6kcDHQgjnRE1pod/kmBn0=
-----END CERTIFICATE-----`,
  keyPem: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAZ1yJpwCN1m63mb4
1tPoFDIB2eux4HZJQlki43icNfShRANCAASZnCX8YzSdU/UXnksYhQRhVrv6lxLU
0L//W69VRM6x43s4rUMiIirePao3DvaiG+L+DDbqXsijZj86fJgi1I/E
-----END PRIVATE KEY-----`,
};

/** The common name of the certificate a port on the loopback presents. */
export function commonNameOf(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false }, () => {
      const { subject } = socket.getPeerCertificate();
      socket.destroy();
      resolve(String(subject.CN));
    });
    socket.once("error", reject);
  });
}

/** The protocol a port on the loopback chooses when offered HTTP/2 and HTTP/1.1. */
export function negotiatedProtocolOf(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { port, host: "127.0.0.1", rejectUnauthorized: false };
    const socket = connect({ ...options, ALPNProtocols: ["h2", "http/1.1"] }, () => {
      const protocol = socket.alpnProtocol;
      socket.destroy();
      resolve(String(protocol));
    });
    socket.once("error", reject);
  });
}
