/** Something is on its way, and nobody knows for how long. */
export function Busy({ label }: { readonly label: string }) {
  return (
    <p class="busy" role="status">
      <span class="spinner" aria-hidden="true" />
      {label} …
    </p>
  );
}

export function Progress({ label, share }: { readonly label: string; readonly share: number }) {
  return (
    <div class="progress" role="status">
      <span>
        {label}: {Math.round(share * 100)} %
      </span>
      <progress value={share} max={1} aria-label={label} />
    </div>
  );
}
