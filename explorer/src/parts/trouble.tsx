import type { Answer } from '../api/use-answer.js';

/** Says in words what did not work, where it did not, and tries again. */
export function TroubleNotice({ answer, what }: { readonly answer: Answer<unknown>; readonly what?: string }) {
  const { trouble, retryIn, retry } = answer;
  if (trouble === undefined) return null;
  const isBusy = trouble.status === 503 || trouble.status === 429;
  return (
    <div class={`trouble${isBusy ? ' passing' : ''}`} role="alert">
      <p>
        {what !== undefined && <>{what} </>}
        <strong>{trouble.title}.</strong> {sentence(trouble.detail)}
        {retryIn !== undefined && ` This page asks again in ${retryIn} s.`}
      </p>
      <button type="button" onClick={retry}>
        Try again
      </button>
    </div>
  );
}

function sentence(text: string): string {
  const upper = `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
  return /[.!?]$/.test(upper) ? upper : `${upper}.`;
}
