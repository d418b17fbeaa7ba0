import type { Provider } from '@elbo/server/inference/provider';
import { measure } from './gpu-measurement.js';

// node gpu-process.js PROVIDER MODELS SECONDS: prints what was measured as JSON.
const [provider, directory, seconds] = process.argv.slice(2);
console.log(JSON.stringify(await measure(provider as Provider, directory ?? '', Number(seconds))));
