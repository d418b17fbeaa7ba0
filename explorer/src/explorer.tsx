import type { ComponentType } from 'preact';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { answered, type ModelDetails, type ModelSummary, type Sent, service } from './api/service.js';
import { useAnswer } from './api/use-answer.js';
import { addressOf, addressWith, choiceParameter, goTo, parameter } from './location.js';
import { defaultOf, type Model, modelOf } from './model/model.js';
import { Icon, type IconName } from './parts/icon.js';
import { KeyPrompt } from './parts/key-prompt.js';
import { Link } from './parts/link.js';
import { Busy } from './parts/progress.js';
import { Select } from './parts/select.js';
import { TroubleNotice } from './parts/trouble.js';
import { AnomalyView } from './views/anomaly/anomaly.js';
import { MapView } from './views/map/map.js';
import { ModelsView } from './views/models/models.js';
import { MorphView } from './views/morph.js';
import { SamplesView } from './views/samples.js';
import { TraversalView } from './views/traversal.js';

export interface ViewProps {
  readonly model: Model;
  readonly models: readonly ModelSummary[];
  /** How the model was asked for. */
  readonly sent: Sent;
}

interface View {
  readonly title: string;
  readonly icon: IconName;
  readonly content: ComponentType<ViewProps>;
}

const VIEWS = {
  map: { title: 'Latent map', icon: 'map', content: MapView },
  traversal: { title: 'Traversal', icon: 'traversal', content: TraversalView },
  samples: { title: 'Samples', icon: 'samples', content: SamplesView },
  morph: { title: 'Morph', icon: 'morph', content: MorphView },
  anomaly: { title: 'Anomaly', icon: 'anomaly', content: AnomalyView },
  models: { title: 'Models', icon: 'models', content: ModelsView },
} as const satisfies Record<string, View>;
type ViewName = keyof typeof VIEWS;
const NAMES = Object.keys(VIEWS) as [ViewName, ...ViewName[]];

/** The whole page. */
export function Explorer() {
  const list = useAnswer('models', async (signal) => {
    const { value } = await answered(signal, (options) => service.GET('/models', options));
    return value.models as ModelSummary[];
  });
  const view = choiceParameter('view', NAMES);
  const models = list.value ?? [];
  const chosen = chosenOf(models);
  return (
    <div class="explorer">
      <a class="skip" href="#content">
        Skip to the content
      </a>
      <header class="bar">
        <Link class="brand" href={addressOf({})}>
          <img src="icon.svg" alt="" width="26" height="26" />
          <span>Elbo</span>
        </Link>
        {chosen && <ModelPicker models={models} chosen={chosen} view={view} />}
        <a class="quiet docs" href="docs">
          API
        </a>
      </header>
      <nav class="rail" aria-label="Views">
        {NAMES.map((name) => (
          <Link key={name} href={addressOf({ view: name === NAMES[0] ? undefined : name })} current={name === view}>
            <Icon name={VIEWS[name].icon} />
            <span>{VIEWS[name].title}</span>
          </Link>
        ))}
      </nav>
      <main id="content" class="content" tabIndex={-1}>
        <KeyPrompt />
        <TroubleNotice answer={list} what="The list of models did not come." />
        {list.value === undefined && list.pending && <Busy label="Asking for the models" />}
        {list.value?.length === 0 && (
          <p class="empty">The service has no model. Put one into its store: elbo train makes one.</p>
        )}
        {chosen && <OfModel key={`${chosen.name}/${chosen.version}`} chosen={chosen} models={models} view={view} />}
      </main>
    </div>
  );
}

/** The version that the address names: the newest of its model, or of the default model, where it says nothing. */
function chosenOf(models: readonly ModelSummary[]): Pick<ModelSummary, 'name' | 'version'> | undefined {
  const name = parameter('model');
  if (name === undefined) return defaultOf(models);
  const versions = models.filter((model) => model.name === name);
  const version = parameter('version');
  // What is not there is asked for all the same, so that the service's own words say so.
  return version === undefined ? (versions.at(-1) ?? { name, version: '1' }) : { name, version };
}

interface PickerProps {
  readonly models: readonly ModelSummary[];
  readonly chosen: Pick<ModelSummary, 'name' | 'version'>;
  readonly view: ViewName;
}

function ModelPicker({ models, chosen, view }: PickerProps) {
  const names = [...new Set(models.map(({ name }) => name))];
  const versions = models.filter(({ name }) => name === chosen.name).map(({ version }) => version);
  const keptView = view === NAMES[0] ? undefined : view;
  const others = (changes: Readonly<Record<string, string | undefined>>) =>
    goTo(addressWith({ view: keptView, ...changes }, new URLSearchParams()));
  return (
    <div class="picker">
      <Select
        label="Model"
        value={chosen.name}
        options={(names.includes(chosen.name) ? names : [chosen.name, ...names]).map((name) => ({
          value: name,
          text: name,
        }))}
        onChange={(name) => others({ model: name })}
      />
      <Select
        label="Version"
        value={chosen.version}
        options={(versions.includes(chosen.version) ? versions : [chosen.version, ...versions]).map((version) => ({
          value: version,
          text: version,
        }))}
        onChange={(version) => others({ model: chosen.name, version })}
      />
    </div>
  );
}

/** A view of one version, once what is known of it is there. */
function OfModel({ chosen: { name, version }, models, view }: PickerProps) {
  const answer = useAnswer(`${name}/${version}`, async (signal) => {
    const { value, sent } = await answered(signal, (options) =>
      service.GET('/models/{name}', { params: { path: { name }, query: { version } }, ...options }),
    );
    return { model: modelOf(value as ModelDetails), sent };
  });
  const { title, content: Content } = VIEWS[view];
  useEffect(() => {
    document.title = `${title} · ${name} · Elbo`;
  }, [title, name]);
  const heading = useRef<HTMLHeadingElement>(null);
  const shown = useRef(view);
  useLayoutEffect(() => {
    if (shown.current === view) return;
    shown.current = view;
    // What was picked went with its view; whoever uses keys goes on where the new one begins.
    if (document.activeElement === document.body) heading.current?.focus();
  }, [view]);
  return (
    <>
      <h1 ref={heading} tabIndex={-1}>
        {title}
      </h1>
      <TroubleNotice answer={answer} what={`${name}, version ${version}, did not come.`} />
      {answer.value === undefined && answer.pending && <Busy label="Asking for the model" />}
      {answer.value && <Content key={view} models={models} {...answer.value} />}
    </>
  );
}
