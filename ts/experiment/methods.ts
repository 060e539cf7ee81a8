// The methods an experiment can compare, one entry each. An entry says which settings it reads, when it is pretrained, where
// the model of a domain starts, and what "generic perplexity" means for it. Planning, running, results and report know
// nothing else about a method.
// To add one: its entry here, and in starts.ts a function if its model starts in a way that is new.
import { METHODS, type Method } from '../methods/run.js';
import type { SettingName } from './experiment.js';
import {
  type Generic,
  genericByCluster,
  genericOfWhole,
  type Start,
  startUntrained,
  startWithExperts,
} from './starts.js';

export interface SystemMethod {
  /** What `pretrain` calls it. Default: the same name. */
  readonly pretrainedAs?: Method;
  /** shared: once, before any domain is known; domain: once a domain; never: no generic text at all. */
  readonly pretraining: 'shared' | 'domain' | 'never';
  /** Settings it reads besides the common ones. */
  readonly settings: readonly SettingName[];
  /** Settings that only its fine-tuning reads: systems that differ in nothing else share a pretraining. */
  readonly tuning?: readonly SettingName[];
  /** Whether a domain chooses among experts. */
  readonly experts: boolean;
  readonly start: Start;
  /** null: not measured, because every domain has a model of its own. */
  readonly generic: Generic | null;
}

/** All settings of a method but the common ones. */
export const settingsOf = ({ settings, tuning = [] }: SystemMethod): SettingName[] => [...settings, ...tuning];

/** Methods whose weights come out of a bank, and the settings of one. */
export const hasBank = (method: string): boolean => SYSTEM_METHODS[method]!.settings.includes('slices');
/** Methods with routed layers. */
export const hasRouters = (method: string): boolean => SYSTEM_METHODS[method]!.settings.includes('routedLayers');
const BANK = [
  'slices',
  'expertVector',
  'projectedLayers',
  'shared',
  'sliceType',
  'sliceRank',
  'bankScale',
  'trunkShare',
] as const;

export const SYSTEM_METHODS: Readonly<Record<string, SystemMethod>> = {
  slm: { pretraining: 'shared', settings: [], experts: false, start: startWithExperts, generic: genericOfWhole },
  importance: {
    pretraining: 'domain',
    settings: ['clusters', 'domainTokens', 'shrink', 'repeatCap', 'singleCluster'],
    experts: false,
    start: startWithExperts,
    generic: null,
  },
  'slm-domain': {
    pretrainedAs: 'slm',
    pretraining: 'domain',
    settings: ['domainShare', 'domainTokens'],
    experts: false,
    start: startWithExperts,
    generic: null,
  },
  mixture: {
    pretraining: 'shared',
    settings: ['clusters', 'trunkShare'],
    experts: true,
    start: startWithExperts,
    generic: genericByCluster,
  },
  projected: {
    pretraining: 'shared',
    settings: ['clusters', ...BANK],
    experts: true,
    start: startWithExperts,
    generic: genericByCluster,
  },
  soup: {
    pretraining: 'shared',
    settings: ['clusters', ...BANK, 'mlpWidth', 'mixtures', 'support'],
    experts: true,
    start: startWithExperts,
    generic: genericByCluster,
  },
  hypernetwork: {
    pretraining: 'shared',
    settings: ['clusters', ...BANK, 'mlpWidth'],
    experts: true,
    start: startWithExperts,
    generic: genericByCluster,
  },
  routed: {
    pretraining: 'shared',
    settings: ['experts', 'topK', 'normalize', 'width', 'sharedWidth', 'routedLayers', 'balance'],
    experts: false,
    start: startWithExperts,
    generic: genericOfWhole,
  },
  distillation: {
    pretrainedAs: 'slm',
    pretraining: 'shared',
    settings: [],
    tuning: ['teacher', 'weight', 'temperature', 'topK'],
    experts: false,
    start: startWithExperts,
    generic: genericOfWhole,
  },
  'domain-only': { pretraining: 'never', settings: [], experts: false, start: startUntrained, generic: null },
};

/** The method of a basis, as `pretrain` takes it. */
export const pretrainMethod = (method: string): Method => METHODS.find((one) => one === method)!;
