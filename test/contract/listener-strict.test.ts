import { StrictListener } from "../../src/server/strict.ts";
import { listenerContract } from "./listener.suite.ts";

listenerContract({
  name: "strict (node:http)",
  create: (options) => new StrictListener(options),
  keepsRawTargets: true,
  keepsRequestHeaders: true,
  replyHeaders: "repeats-grouped",
  keepsLengthOfLargeStreams: true,
  continuesOnRead: true,
  noticesLeavingWhileBodyUnread: false,
  allowsHalfClose: false,
  boundsHeaderTime: true,
  pipelines: true,
  countsConnections: true,
  reloadsTls: true,
});
