import { createMemoryStorage } from "../support/memory-storage.ts";
import { storageContract } from "./storage.suite.ts";

storageContract({
  name: "memory fake",
  async open() {
    const storage = createMemoryStorage();
    return { storage, dispose: () => storage.close() };
  },
});
