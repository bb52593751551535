/** placeholder: replaced by the full table */
export {};
