import { useEffect, useState } from 'preact/hooks';
import { useAnswer } from '../../api/use-answer.js';
import type { Model } from '../../model/model.js';
import { fileOf } from '../../model/points.js';

export interface FilePictureProps {
  readonly model: Pick<Model, 'name' | 'version'>;
  readonly file: string;
  /** Empty where it is decoration. */
  readonly label: string;
  readonly class: string;
}

/** A picture among the files of a version. It is fetched as any other file, since an `img` could not send a key. */
export function FilePicture({ model, file, label, class: className }: FilePictureProps) {
  const type = file.endsWith('.svg') ? 'image/svg+xml' : 'image/png';
  const answer = useAnswer(`${model.name}/${model.version}/${file}`, async (signal) => {
    const bytes = await fileOf(model, file, signal);
    return new Blob([bytes], { type });
  });
  const [address, setAddress] = useState<string>();
  useEffect(() => {
    if (answer.value === undefined) return;
    const created = URL.createObjectURL(answer.value);
    setAddress(created);
    return () => URL.revokeObjectURL(created);
  }, [answer.value]);
  // Only versions that another program wrote come without.
  if (answer.trouble !== undefined && address === undefined) return null;
  return address === undefined ? (
    <div class={`${className} waiting`} />
  ) : (
    <img class={className} src={address} alt={label} />
  );
}
