import { useId } from 'preact/hooks';
import { giveKey, keyWanted } from '../api/service.js';

/** Asks for a key where a call was refused for the lack of one. */
export function KeyPrompt() {
  const id = useId();
  if (keyWanted.value === undefined) return null;
  return (
    <form
      class="key-prompt"
      onSubmit={(event) => {
        event.preventDefault();
        const key = new FormData(event.currentTarget).get('key');
        if (typeof key === 'string' && key.trim() !== '') giveKey(key.trim());
      }}
    >
      <label for={id}>This service takes an API key</label>
      <p>It stays in this tab, and is forgotten when the tab is closed.</p>
      <div>
        <input
          id={id}
          name="key"
          type="password"
          autocomplete="off"
          spellcheck={false}
          required
          // What a header cannot hold would fail every call.
          pattern="\s*[!-~]+\s*"
          title="Letters, digits and signs of ASCII, without spaces"
        />
        <button type="submit" class="primary">
          Use this key
        </button>
      </div>
    </form>
  );
}
