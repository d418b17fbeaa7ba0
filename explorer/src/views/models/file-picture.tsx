import { useEffect, useRef, useState } from 'preact/hooks';
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

/** How far below what is seen pictures are asked for. */
const AHEAD = '300px';

/**
 * A picture among the files of a version. It is fetched as any other file, since an `img` could not send a key; and not before it
 * is near, since a store of many models would use up what a service allows its clients.
 */
export function FilePicture({ model, file, label, class: className }: FilePictureProps) {
  const type = file.endsWith('.svg') ? 'image/svg+xml' : 'image/png';
  const place = useRef<HTMLDivElement>(null);
  const [isNear, setNear] = useState(false);
  useEffect(() => {
    const { current: element } = place;
    if (element === null) return;
    const observer = new IntersectionObserver(
      (entries) => entries.some((entry) => entry.isIntersecting) && setNear(true),
      {
        rootMargin: AHEAD,
      },
    );
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const answer = useAnswer(isNear ? `${model.name}/${model.version}/${file}` : undefined, async (signal) => {
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
    <div ref={place} class={`${className} waiting`} />
  ) : (
    <img class={className} src={address} alt={label} />
  );
}
