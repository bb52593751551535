/** `tag health`: is the server of this configuration up? For HEALTHCHECK and probes without curl. */

import { parseDuration } from "../base/duration.ts";
import { usage } from "./arguments.ts";
import { command } from "./command.ts";
import { CONFIG_FLAG, loadForCommand, reportProblems } from "./config-flags.ts";
import { ask, localServerUrl } from "./local-server.ts";

export const health = command({
  name: "tag health",
  description: "Ask the running server whether it is healthy: exit 0 when it is, 1 when not",
  args: {
    ...CONFIG_FLAG,
    url: {
      type: "string",
      valueHint: "URL",
      description: "Address of the server (default: the local one, by the configuration)",
    },
    timeout: {
      type: "string",
      valueHint: "DURATION",
      default: "3s",
      description: "How long to wait for its answer",
    },
    json: { type: "boolean", description: "JSON for machines" },
  },
  examples: [
    ["tag health", "the server of this machine"],
    ["tag health --url https://tag.internal:8080", "another one"],
  ],
  async run(input) {
    const { args, terminal } = input;
    const timeoutMs = parseDuration(args.timeout);
    if (timeoutMs === undefined || timeoutMs <= 0) {
      throw usage(`--timeout ${args.timeout} is not a duration, write for example 3s`);
    }
    let base = args.url?.replace(/\/+$/, "");
    if (base === undefined) {
      const loaded = await loadForCommand(input);
      if (loaded.kind === "failed") return reportProblems(terminal, loaded.problems);
      base = localServerUrl(loaded.config);
      if (base === undefined) throw usage("server.http_port is 0: say where it listens with --url");
    }
    const url = `${base}/health`;
    const answer = await ask(url, timeoutMs);
    const isHealthy = answer.kind === "answered" && answer.status === 200;
    const said = answer.kind === "answered" ? `HTTP ${answer.status}` : answer.because;
    if (args.json) terminal.out(JSON.stringify({ url, isHealthy, answer: said }));
    else if (isHealthy) terminal.out(`healthy: ${url}`);
    else terminal.fail(`not healthy: ${url}: ${said}`);
    return isHealthy ? "ok" : "runtime";
  },
});
