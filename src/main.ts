/** Entry of the binary: hands the command line to cli/root.ts. */

import { runCli } from "./cli/root.ts";
import { systemTerminal } from "./cli/terminal.ts";

const code = await runCli(process.argv.slice(2), systemTerminal());
// A command that is over must not be kept alive by an idle connection it used.
await new Promise<void>((resolve) => void process.stdout.write("", () => resolve()));
process.exit(code);
