import { defineConfig } from 'vitest/config';

// Not part of `npm test`: breaks what the tests hold, and expects them to notice.
export default defineConfig({
  test: { include: ['test/**/*.mutation.ts'], testTimeout: 300_000, pool: 'forks', maxWorkers: 1 },
});
