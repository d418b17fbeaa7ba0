import { useState } from 'preact/hooks';
import { Icon } from './icon.js';

const SHOWN_CHARACTERS = 1200;
const SHOWN_AT_ENDS = 500;

/** The command that gives the same result; copied whole, however much of it is shown. */
export function Command({
  text,
  title = 'The same from a shell',
}: {
  readonly text: string | undefined;
  readonly title?: string;
}) {
  const [copied, setCopied] = useState<string>();
  if (text === undefined) return null;
  const isLong = text.length > SHOWN_CHARACTERS;
  const shown = isLong
    ? `${text.slice(0, SHOWN_AT_ENDS)} … ${text.length - 2 * SHOWN_AT_ENDS} characters more … ${text.slice(-SHOWN_AT_ENDS)}`
    : text;
  return (
    <section class="command" aria-label={title}>
      <header>
        <h2>{title}</h2>
        <button
          type="button"
          onClick={() => {
            navigator.clipboard?.writeText(text).then(
              () => setCopied(text),
              () => {},
            );
          }}
        >
          <Icon name="copy" />
          <span aria-live="polite">{copied === text ? 'Copied' : 'Copy'}</span>
        </button>
      </header>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by the keyboard. */}
      <pre tabIndex={0} data-command={text}>
        <code>{shown}</code>
      </pre>
    </section>
  );
}
