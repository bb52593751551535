/** Loaded before every test file: nothing here may hide a failure. */
export {};
