import type { FastifyReply, FastifyRequest } from 'fastify';

/**
 * An `onRequest` hook: refuses a request while the queue is full, before its body is read. What costs most of a refusal is
 * the body, and without this, refusing what is too much left no time for what was accepted.
 */
export function refuseWhenFull({ server }: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void): void {
  try {
    server.service.checkRoom();
    done();
  } catch (error) {
    done(error as Error);
  }
}

/**
 * Counts a request's items against the queue limit while `work` runs, and against the rate of its caller.
 * @throws {InferenceError} OVERLOADED, TOO_MANY_ITEMS
 * @throws {ProblemError} RATE_LIMITED, TOO_MANY_ITEMS
 */
export function admitItems<T>(request: FastifyRequest, items: number, work: () => Promise<T>): Promise<T> {
  const { service, itemRate } = request.server;
  if (itemRate === null) return service.admit(items, work);
  return service.admit(items, () => {
    // Not before, as what the queue has no room for may come again.
    takeItems(request, items);
    return work();
  });
}

/**
 * Counts items against the rate of a request's caller.
 * @throws {ProblemError} RATE_LIMITED, TOO_MANY_ITEMS
 */
export function takeItems(request: FastifyRequest, items: number): void {
  request.server.itemRate?.take(request.itemCaller, items);
}
