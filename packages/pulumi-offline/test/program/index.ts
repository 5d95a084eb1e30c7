import * as pulumi from '@pulumi/pulumi';
import { type BoxOptions, makeBox } from './box';

console.log('the program speaks');
export const { address, greeting, password, said } = makeBox(new pulumi.Config().requireObject<BoxOptions>('box'));
