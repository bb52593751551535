import { Http1Engine } from "../../src/server/http1/engine.ts";
import { listenerContract } from "./listener.suite.ts";

listenerContract({
  name: "own engine (Bun.listen)",
  create: (options) => new Http1Engine(options),
  keepsRawTargets: true,
  keepsRequestHeaders: true,
  replyHeaders: "exact",
  keepsLengthOfLargeStreams: true,
  continuesOnRead: true,
  noticesLeavingWhileBodyUnread: true,
  allowsHalfClose: false,
  boundsHeaderTime: true,
  pipelines: true,
  countsConnections: true,
  reloadsTls: true,
});
