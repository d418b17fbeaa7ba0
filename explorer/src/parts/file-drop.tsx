import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { IMAGE_TYPES } from '../model/given-input.js';
import type { Model } from '../model/model.js';

export interface FileDropProps {
  readonly model: Model;
  readonly label: string;
  /** Whether what is pasted anywhere on the page is meant for it. */
  readonly takesPaste?: boolean;
  readonly onFile: (file: File) => void;
}

/** A file to choose, to drop or to paste. */
export function FileDrop({ model, label, takesPaste = false, onFile }: FileDropProps) {
  const id = useId();
  const [isOver, setOver] = useState(false);
  const take = useRef(onFile);
  take.current = onFile;
  const isTable = model.input.kind === 'vector';
  useEffect(() => {
    if (!takesPaste) return;
    const paste = (event: ClipboardEvent): void => {
      const target = event.target as Element | null;
      if (target?.closest('input, textarea') != null) return;
      const [file] = event.clipboardData?.files ?? [];
      const text = event.clipboardData?.getData('text/plain') ?? '';
      if (file !== undefined) take.current(file);
      else if (isTable && text !== '') take.current(new File([text], 'pasted.csv', { type: 'text/csv' }));
      else return;
      event.preventDefault();
    };
    document.addEventListener('paste', paste);
    return () => document.removeEventListener('paste', paste);
  }, [takesPaste, isTable]);
  const what = isTable ? 'a CSV file' : 'an image';
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: a file may be dropped here; the input inside does the same by keys.
    <div
      class={`drop${isOver ? ' over' : ''}`}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        const [file] = event.dataTransfer?.files ?? [];
        if (file !== undefined) onFile(file);
      }}
    >
      <label for={id}>{label}</label>
      <div>
        <input
          id={id}
          type="file"
          accept={isTable ? '.csv,text/csv,text/plain' : IMAGE_TYPES.join()}
          onChange={(event) => {
            const [file] = event.currentTarget.files ?? [];
            if (file !== undefined) onFile(file);
            // So that the same file can be chosen again.
            event.currentTarget.value = '';
          }}
        />
        <small>
          or drop {what} here{takesPaste && `, or paste ${isTable ? 'rows' : 'one'}`}
        </small>
      </div>
    </div>
  );
}
